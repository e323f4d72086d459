"""How rows are packed in the store, and the forms of a packed row in memory.

`layouts` lists the columns of everything that is stored, with their bits: it only ever grows (`layout_changes`
compares two of them). `table` is the codec of one layout (`packing` are its loops). The forms: `column_major` and
`row_major` arrays, `cells` for reading one row without a copy, `python_rows` for a few rows in plain Python;
`write_rows` makes packed rows out of columns. README.md in this folder draws them as a table.

What may come in: another way to read or write the same bytes, with the benchmark that justifies it. Nothing here
knows an entity.
"""
