"""The three flows as readable text: `profiles`, `stock`, `deliver`. In the package they are `nurt.flows`.

What may come in: a flow, laid out from top to bottom; what its steps do belongs to `nurt.runtime` and further down.
"""
