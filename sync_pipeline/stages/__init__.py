"""The flow as plain functions, no Dagster: extract, check, load, verify.

One record's way: ``extract`` reads it and, where it is delivered as the source has it, keeps its id alone (``short_way``);
``batch_files`` keeps what was read as one Parquet file; ``check`` walks that once, ``process`` maps and checks each part, and the rows go
into the ledger's staging; ``load`` takes the staging over, merges it under the entity's lock and delivers what is pending
(``deliver``), each record claimed while it is written (``claims``).

Data flows back in five places: the IO manager pulls the reader; ``references`` looks up what a part refers to, one bulk query a part;
``absence`` reads by id what is missing, through the same ``process_records``; what is waited for is delivered before the merge
(``targeted``); unique names are looked up once a page.
"""
