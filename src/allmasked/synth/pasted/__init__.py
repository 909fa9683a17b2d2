"""Masks painted on people in photos."""
