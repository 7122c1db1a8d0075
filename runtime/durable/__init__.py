"""Durable operations of a handler: steps, asks, streams, branches, and their replay."""
