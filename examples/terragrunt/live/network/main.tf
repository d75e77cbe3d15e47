# A stand-in for a real unit.
output "subnet" {
  value = "subnet-1"
}
