# The smallest thing that takes a lock: a local state, one built-in resource, nothing to download, no account.
# Each apply replaces the resource, so each apply works for a second while the lock is held.

resource "terraform_data" "hello" {
  triggers_replace = [timestamp()]

  provisioner "local-exec" {
    quiet       = true
    interpreter = ["/bin/sh", "-c"]
    command     = <<-SHELL
      echo "Working for a second. Meanwhile a plain terraform in this directory is refused, and told:"
      cat .terraform.tfstate.lock.info 2>/dev/null || echo "(nothing: this run holds no lock)"
      sleep 1
    SHELL
  }
}

output "applied_at" {
  value = terraform_data.hello.triggers_replace[0]
}
