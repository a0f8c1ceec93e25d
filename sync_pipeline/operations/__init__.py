"""The facts of the vendors' APIs, as data.

``clockify.json`` is what Clockify's OpenAPI document says: methods, paths, names, types, enums, nullability. It is
written by ``python -m sync_pipeline_tests.clockify_document FILE``, never by hand. ``clockify_errata.yaml`` lists
where the document is wrong, each time with the evidence.
"""
