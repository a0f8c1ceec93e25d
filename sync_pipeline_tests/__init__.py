"""Tests mirror the package; scenarios/ are whole stories, properties/ the laws."""

from sync_pipeline.gc_pause import gc_relaxed

gc_relaxed()  # first of all: importing makes many objects, and looking for cycles among them took a tenth of all time
