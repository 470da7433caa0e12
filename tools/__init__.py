"""What a developer runs and a user does not: checks of the code, and the dashboards."""
