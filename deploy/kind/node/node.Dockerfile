ARG BASE
FROM $BASE
ARG VERSION
ARG PAUSE
RUN systemctl set-default multi-user.target && \
    systemctl mask getty.target console-getty.service systemd-logind.service systemd-udevd.service \
      systemd-networkd-wait-online.service systemd-timesyncd.service fstrim.timer dpkg-db-backup.timer e2scrub_all.timer && \
    mkdir -p /opt/cni/bin /etc/cni/net.d /kind/manifests && \
    cp /usr/lib/cni/host-local /usr/lib/cni/portmap /usr/lib/cni/loopback /opt/cni/bin/ && \
    echo "$VERSION" >/kind/version
COPY kubeadm kubelet kubectl /usr/bin/
COPY calico-felix entrypoint felix-run pod-routes /usr/local/bin/
COPY calico /opt/cni/bin/
COPY cni.conflist calico-settings.yaml /kind/
# kind applies what it finds here when the cluster is made.
COPY default-cni.yaml default-storage.yaml /kind/manifests/
COPY containerd.toml /etc/containerd/config.toml
COPY kubelet.service felix.service pod-routes.service /etc/systemd/system/
RUN sed -i "s|@PAUSE@|$PAUSE|" /etc/containerd/config.toml && systemctl enable containerd kubelet felix pod-routes
ENV container=docker
STOPSIGNAL SIGRTMIN+3
