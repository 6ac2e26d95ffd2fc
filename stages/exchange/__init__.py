"""Predictions in other people's formats: submission zips and their check, exports, imports (docs/exchange.md)."""
