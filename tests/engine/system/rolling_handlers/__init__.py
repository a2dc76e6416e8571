"""One route that stays and one that changes with the environment, as in a rolling deploy."""
