"""The system in containers, on a real engine: `make up` and all that may happen to it afterwards."""
