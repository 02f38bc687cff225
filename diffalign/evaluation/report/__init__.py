"""Writes ``report.html``: verdict, charts and examples."""
