"""Print a new private key, as a service account has one."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
print(key.private_bytes(encoding, form, serialization.NoEncryption()).decode())
