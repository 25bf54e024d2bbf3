"""The pages, a module for each: functions of a View that return a response."""
