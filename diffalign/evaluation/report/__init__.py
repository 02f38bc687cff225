"""Writes ``report.html``: verdict, plots, sheets of examples."""
