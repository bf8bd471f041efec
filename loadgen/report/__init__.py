"""Plans and results for readers: text, tables, CSV, JSON, and a page with plots."""
