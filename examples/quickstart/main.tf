# The smallest thing that takes a lock: a local state, one built-in resource, nothing to download, no account.
# Each apply replaces the resource, so each apply works for a while (`seconds`) while the lock is held.

variable "seconds" {
  default = 1
}

resource "terraform_data" "hello" {
  triggers_replace = [timestamp()]

  provisioner "local-exec" {
    quiet       = true
    interpreter = ["/bin/sh", "-c"]
    command     = <<-SHELL
      echo "Working, for ${var.seconds} s. Meanwhile a plain terraform is refused."
      sleep ${var.seconds}
    SHELL
  }
}

output "applied_at" {
  value = terraform_data.hello.triggers_replace[0]
}
