"""Plans and results for a reader: text, tables, CSV, JSON, and a page with plots."""
