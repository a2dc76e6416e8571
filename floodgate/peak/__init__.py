"""Load tests over HTTP: the locust user, shapes of a load, sampling, verdict and report. Imports nothing of ours."""
