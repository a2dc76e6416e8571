"""Figures of one app, summed over its processes, in Prometheus's text format.

A process counts in cells of a mapped file (`ledger`); whichever process is scraped
adds up its siblings', dead ones' too (`siblings`), and writes text (`exposition`).
"""
