"""flowstore in the life of other packages: task queues, web frameworks, telemetry. See docs/integrations.md.

Each module is for one of them, needs the extra of its name, and is imported by itself: this one imports none.
They use what ``flowstore`` and ``flowstore.sync`` export, as any program could, and share the modules that
begin with an underscore.
"""
