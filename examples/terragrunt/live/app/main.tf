# A stand-in for a real unit.
variable "subnet" {
  type = string
}

resource "terraform_data" "app" {
  input = var.subnet
}
