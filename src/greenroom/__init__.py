"""Greenroom: one async function becomes an A2A server."""
