environment = "staging"
size        = 2
