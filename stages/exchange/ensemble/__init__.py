"""The mean of several systems' predictions, pixel by pixel, and what each of them is worth (docs/exchange.md)."""
