"""What can be sold: papers are joined, holds are folded into shelves, shelves are weighed against the plan."""
