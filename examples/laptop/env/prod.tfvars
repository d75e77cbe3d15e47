environment = "prod"
size        = 3
