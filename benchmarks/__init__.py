"""flowstore side by side with what people use today, and with what the storage itself can do."""
