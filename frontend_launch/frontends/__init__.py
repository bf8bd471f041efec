"""The two frontends: queries in and answers out, and the configuration that they share."""
