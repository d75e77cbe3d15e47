environment = "dev"
size        = 1
