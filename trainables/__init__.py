"""Plain functions that train one configuration; they import nothing from `search`."""
