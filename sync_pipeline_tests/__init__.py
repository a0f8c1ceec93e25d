"""Tests mirror the package; scenarios/ are whole stories, properties/ the laws."""
