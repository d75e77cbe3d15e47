# A stand-in for a real stack. Its bucket and key come from tfguard.yml.
terraform {
  required_version = ">= 1.10"

  backend "s3" {
    region       = "eu-central-1"
    use_lockfile = true
  }
}

variable "environment" {
  type = string
}

variable "size" {
  type = number
}

resource "terraform_data" "network" {
  input = "${var.environment} of size ${var.size}"
}
