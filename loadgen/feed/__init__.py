"""What a measurement hands to the live process: records of its intervals, and the lines of its log."""
