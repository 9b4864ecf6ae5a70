"""The configuration of nginx in front of a service, from the documentation of the projects."""

# The settings of docs/deploy.md. The response header X-Seen contains the address of the client as nginx sees it.
NGINX = """
events {}
http {
    access_log off;
    server {
        listen 8443 ssl;
        ssl_certificate /etc/ssl/certs/ssl-cert-snakeoil.pem;
        ssl_certificate_key /etc/ssl/private/ssl-cert-snakeoil.key;
        location / {
            proxy_pass http://service:8000;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
            add_header X-Seen $remote_addr always;
        }
    }
}
"""
