"""What a deployment says of its stock (`plan`), and what the flow of stock publishes (`published`)."""
