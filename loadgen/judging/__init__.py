"""From record to evidence to verdict: limits, objectives, steadiness, remarks."""
