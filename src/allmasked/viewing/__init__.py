"""A local page to look at data sets, runs and answers, and to mend labels."""
