"""Load tests over HTTP: the locust user, shapes of a load, sampling, thresholds and report. Imports nothing of ours."""
