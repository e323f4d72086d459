"""`mapping.yaml`: what the tables of the source systems mean.

`load` is the door. `yaml_lines` reads YAML with line numbers; `sections`, `topics` and `stock` check it against
`words` (the vocabulary) and `meanings` (texts for people); `patterns` says whether several topics may match; `types`
are the checked values. `sql` accepts only expressions over one row, and evaluates them; `plan` compiles them for one
schema; `convert` makes canonical fields of the results. `joins` is about entries that are made of several rows.
`json_schema` is for editors.

What may come in: a word of the mapping file and its check, with a line number in every mistake.
"""
