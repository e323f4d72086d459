"""Systems where people work: they take rows, limit the rate, and may refuse rows.

One module a receiver: `salesforce` (with `salesforce_login`), `hubspot`, `dataverse`, `mailchimp`, `marketing_cloud`,
`webhook`. `base` is what all receivers share, over the client of `nurt.adapters.http`. The limits of a receiver stand
at the top of its module.

What may come in: one module a receiver, its preset, its fake, and a line in the contract suite.
"""
