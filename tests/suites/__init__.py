"""Plugins of pytest that run the test suites of others with flowstore in place of what they bring.

The session ``suites`` of nox installs the peers from the index, and hands each suite to pytest as it is.
"""
