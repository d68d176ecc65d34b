"""One file a question: measured beside theory, drawn and checked. ``python -m studies --list`` names them."""
