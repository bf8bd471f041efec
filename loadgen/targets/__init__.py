"""The servers that load can be sent to, one file each, behind one protocol."""
