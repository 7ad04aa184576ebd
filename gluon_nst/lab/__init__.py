"""The lab: the chapter's notebooks and the checks of their exercises; whether a machine is ready for them; a kit to
carry."""
