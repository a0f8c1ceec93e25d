"""The catalogue of operations: the facts of the vendors' APIs as data, and what is known here about them.

``clockify.json`` and ``highlevel.json`` are what the vendors' OpenAPI documents say: methods, paths, names, types, enums,
nullability. They are written by ``python -m sync_pipeline_tests.clockify_document FILE`` and
``python -m sync_pipeline_tests.highlevel_document``, never edited. ``clockify_errata.yaml`` lists where Clockify's document
is wrong, each time with the evidence. ``known.yaml`` is not generated: sentences, what only reads, what is held back.
"""
