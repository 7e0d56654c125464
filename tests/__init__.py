"""Tests: unit and property tests need nothing but Python; integration tests a real server."""
