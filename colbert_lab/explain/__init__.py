"""Which document tokens the query tokens matched: the computation, the terminal's table, the HTML page."""
