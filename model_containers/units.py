"""Units of time, which all three packages share."""

NS_PER_S = 1_000_000_000
