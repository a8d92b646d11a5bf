"""What tests of any server share: authorities that issue certificates, and files that change as a Secret's do."""
